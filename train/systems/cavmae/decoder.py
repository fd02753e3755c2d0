"""The MAE decoder, which predicts the pixels of hidden patches."""

import torch
from torch import Tensor, nn

from avstore.train.systems.cavmae.layers import Block, sincos_2d, sincos_audio
from avstore.train.systems.cavmae.model_config import ModelConfig


class Decoder(nn.Module):
    """Linear to the decoder's width, mask tokens, positions, modality, blocks, norm, two heads.

    Tokens stay in the order of the shuffle, visible ones first: attention does not depend on it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c, width = config, config.decoder_width
        self.config = config
        self.embed = nn.Linear(c.width, width)
        self.mask_token_audio = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token_video = (
            self.mask_token_audio
            if c.mask_tokens == "one"
            else nn.Parameter(torch.zeros(1, 1, width))
        )
        self.modality_audio = nn.Parameter(torch.zeros(1, 1, width))
        self.modality_video = nn.Parameter(torch.zeros(1, 1, width))
        audio = sincos_audio(width, c.audio_steps, c.audio_bands, c.audio_pos)
        video = sincos_2d(width, c.video_grid, c.video_grid).repeat(c.frames, 1)
        self.pos_audio = nn.Parameter(audio[None], requires_grad=c.learned_pos)
        self.pos_video = nn.Parameter(video[None], requires_grad=c.learned_pos)
        self.blocks = nn.ModuleList(
            Block(width, c.decoder_heads, c.mlp_ratio, c.norm_eps, c.attention)
            for _ in range(c.decoder_depth)
        )
        self.norm = nn.LayerNorm(width, c.norm_eps)
        self.head_audio = nn.Linear(width, c.audio_patch**2)
        self.head_video = nn.Linear(width, 3 * c.patch**2)

    def forward(
        self, audio: Tensor, video: Tensor, audio_ids: Tensor, video_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict the pixels of hidden patches.

        Args:
            audio: Visible audio tokens [B, visible_a, D].
            video: Visible video tokens [B, visible_v, D].
            audio_ids: Positions of all audio patches, visible ones first, [B, Ka].
            video_ids: Positions of all video patches, visible ones first, [B, Kv].

        Returns:
            Pixels of hidden audio patches [B, Ka - visible_a, q*q] and of hidden video patches
            [B, Kv - visible_v, 3*p*p], each vector in the order row, column, channel.
        """
        a = self._fill(self.embed(audio), audio_ids, "audio")
        v = self._fill(self.embed(video), video_ids, "video")
        if self.config.decode == "joint":
            x = self._run(torch.cat([a, v], dim=1))
            a, v = x[:, : a.shape[1]], x[:, a.shape[1] :]
        else:
            a, v = self._run(a), self._run(v)
        hidden_a, hidden_v = a[:, audio.shape[1] :], v[:, video.shape[1] :]
        return self.head_audio(hidden_a), self.head_video(hidden_v)

    def _fill(self, visible: Tensor, ids: Tensor, modality: str) -> Tensor:
        mask_token: Tensor = getattr(self, f"mask_token_{modality}")
        position: Tensor = getattr(self, f"pos_{modality}")
        kind: Tensor = getattr(self, f"modality_{modality}")
        hidden = ids.shape[1] - visible.shape[1]
        masks = mask_token.to(visible.dtype).expand(len(visible), hidden, -1)
        return torch.cat([visible, masks], dim=1) + position[0][ids] + kind

    def _run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out
