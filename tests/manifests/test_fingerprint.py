"""Fingerprints: a new key with today's behaviour changes none, another value does."""

from typing import Annotated, Literal

from pydantic import BaseModel

from avstore.manifests.fingerprint import AddedWith, canonical, differences, digest


class Sound(BaseModel):
    rate: int = 16000


class Settings(BaseModel):
    title: str = ""
    size: int = 256
    sound: Sound = Sound()


class Section(BaseModel):
    fps: float = 25.0


class LaterSound(Sound):
    layout: Annotated[Literal["mono", "foa"], AddedWith("mono")] = "mono"


class LaterSettings(Settings):
    sound: LaterSound = LaterSound()
    video: Annotated[Section | None, AddedWith(None)] = None
    crop: Annotated[bool, AddedWith(False)] = True  # its default changed after it was added


def test_a_new_key_at_its_first_default_is_left_out() -> None:
    old, new = canonical(Settings()), canonical(LaterSettings(crop=False))
    assert new == old
    assert digest(new) == digest(old)


def test_another_value_of_a_new_key_moves_the_fingerprint() -> None:
    same = LaterSettings(crop=False)
    for change in (
        {"sound": LaterSound(layout="foa")},
        {"video": Section()},
        {"crop": True},
        {"size": 224},
    ):
        assert canonical(same.model_copy(update=change)) != canonical(same)
    assert canonical(LaterSettings()) != canonical(Settings())  # the new default is another value


def test_excluded_keys_do_not_count() -> None:
    assert canonical(Settings(title="a"), {"title"}) == canonical(Settings(title="b"), {"title"})


def test_differences_name_the_keys() -> None:
    old, new = (
        canonical(Settings()),
        canonical(LaterSettings(size=224, sound=LaterSound(rate=8000))),
    )
    assert differences(old, new) == [
        "crop absent -> True", "size 256 -> 224", "sound.rate 16000 -> 8000",
    ]  # fmt: skip
