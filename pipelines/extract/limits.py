"""What hostile media may make the decoder do, at most.

Limits are part of safety, not of a recipe: they change no result, only which files are refused.
"""

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,ogg,asf,mp3,wav,flac,aac"
)
"""FFmpeg demuxers that read the given file and no other (no playlists, no image sequences)."""

DECODERS = (
    "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4,mpeg2video,mpeg1video,mjpeg,h263,h263i,flv,"
    "msmpeg4v1,msmpeg4v2,msmpeg4,wmv1,wmv2,wmv3,vc1,theora,prores,rawvideo,png,"
    "aac,aac_latm,mp3float,mp3,mp2float,mp2,opus,libopus,vorbis,libvorbis,flac,alac,ac3,eac3,"
    "wmav1,wmav2,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,"
    "pcm_u8,pcm_s8,pcm_mulaw,pcm_alaw,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf"
)
"""Decoders that may run at all."""

MAX_PIXELS = 8192 * 4608
"""Largest coded picture: a little over 8K UHD."""

MAX_SOURCE_S = 24 * 3600.0
"""Longest source video, in seconds, whatever its header says."""

MAX_WINDOW_BYTES = 1 << 29
"""Most compressed bytes that one clip's own seconds may hold."""

MAX_WINDOW_FRAMES = 100_000
"""Most video packets that one clip's own seconds may hold (240 a second for 400 s)."""

MAX_SIDE_RATIO = 32
"""Longest picture side over the shorter: more is no picture to resize."""
