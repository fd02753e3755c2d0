"""Settings of AVSA's objectives: the section `objective` of their configs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ViewSettings(BaseModel):
    """How a clip is seen: views of its panorama, each with the sound turned to it.

    Attributes:
        views: Views of a clip.
        size: Their side, in pixels.
        frames: Pictures of a view, one after the other as stored: 16 a second by recipe avsa.
        sound_seconds: Length of the sound, in which the pictures lie.
        distance: Least distance of the centres of two views; the panorama is 2 wide and 1 high. The
            released code means 0.2 and never enforces it (0).
        geometry: Rotations and sampling as they are meant ("strict"), or as the released code has
            them ("published").
        flip: Whether training mirrors half of the views.
        jitter: Whether training changes the colours of views.
        volume: Whether training changes the loudness of views, by up to a tenth.
        windows: Windows of a clip that are scored, from its start to its end; of one, its middle.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    views: int = Field(default=4, ge=1)
    size: int = Field(default=112, ge=16)
    frames: int = Field(default=8, ge=1)
    sound_seconds: float = Field(default=1.0, gt=0)
    distance: float = Field(default=0.2, ge=0)
    geometry: Literal["strict", "published"] = "strict"
    flip: bool = True
    jitter: bool = True
    volume: bool = True
    windows: int = Field(default=1, ge=1)


class AVSASettings(ViewSettings):
    """What a step of AVSA sees and minimises.

    Attributes:
        temperature: By which scores are divided.
        gallery: Clips among which the right one is looked for, in evaluation.
        control: Whether final scores have those of sound that is turned by a random yaw as well.
            They are chance if, and only if, views were told apart by the direction of sound.
    """

    temperature: float = Field(default=0.07, gt=0)
    gallery: int = Field(default=28, ge=2)
    control: bool = False


class ActionSettings(BaseModel):
    """How action recognition sees a video.

    Attributes:
        size: Side of the pictures, in pixels.
        shorter: Shorter side of pictures before the middle is cut out, in evaluation.
        frames: Pictures of a clip, one after the other as stored: 16 a second by recipe action.
        windows: Clips of a video that final scores see, from its start to its end.
        dropout: Before the last layer.
        flip: Whether training mirrors half of the clips.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=112, ge=16)
    shorter: int = Field(default=128, ge=16)
    frames: int = Field(default=8, ge=1)
    windows: int = Field(default=25, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    flip: bool = True


class PairSettings(ViewSettings):
    """What a head on frozen encoders tells apart, AVC-Bin and AVSA-Bin.

    Attributes:
        pairs: Sound of the own clip from that of another ("clips", AVC-Bin), or sound that is
            turned by a random yaw from sound that is not ("yaw", AVSA-Bin).
        predicted: Whether the head sees, in place of a view's pictures, the sound that the pictures
            of all views predict.
        dropout: Before the head's first layer; as released, it is never on.
    """

    pairs: Literal["clips", "yaw"] = "clips"
    predicted: bool = False
    dropout: float = Field(default=0.5, ge=0, lt=1)


class SegmentationSettings(ViewSettings):
    """What a head on frozen encoders knows of the views whose pixels it labels.

    Attributes:
        labels: The feature of packed label maps.
        context: What it knows beside a view's pictures: nothing ("off"), its sound ("sound"), or
            also the sound and the pictures that all views predict ("all").
        backbone: Whether the networks stay in evaluation mode in training ("frozen"), or are in
            training mode without being trained ("published").
        augmented_test: Whether views are mirrored and their colours and volume changed in
            evaluation too, as released.
        scored_clips: Windows of a batch of the published scores, which are means over batches.
    """

    labels: str = "segmentation"
    context: Literal["off", "sound", "all"] = "all"
    backbone: Literal["frozen", "published"] = "frozen"
    augmented_test: bool = False
    scored_clips: int = Field(default=20, ge=1)
