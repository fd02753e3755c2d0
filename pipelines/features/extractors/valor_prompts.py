"""Hold the sentences and thresholds of VALOR's pseudo labels, for LLP's 25 classes in order.

Lai et al., VALOR, NeurIPS 2023; Franklin905/VALOR at 2677da9. Misspelt words are kept, because the
thresholds hold for the embeddings of exactly these sentences.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from avstore.manifests.store import StoreError


@dataclass(frozen=True)
class ValorClass:
    """Hold one class of LLP.

    Attributes:
        label: The label in LLP.
        clip_prompt: The sentence for CLIP's text tower.
        clap_prompt: The sentence for CLAP's text tower.
        clip_threshold: Image-text logit above which a segment shows the class.
        clap_threshold: Audio-text logit above which the class is audible in a segment.
    """

    label: str
    clip_prompt: str
    clap_prompt: str
    clip_threshold: float
    clap_threshold: float


_TABLE = """
Speech                 | people talking           | speech                 | 20 |  0
Car                    | a car                    | car                    | 15 |  0
Cheering               | people cheering          | cheering               | 18 |  1
Dog                    | a dog                    | dog                    | 14 |  4
Cat                    | a cat                    | cat                    | 15 |  6
Frying_(food)          | frying food              | frying (food)          | 18 | -2
Basketball_bounce      | people playing basketball | basketball bounce     | 18 |  4
Fire_alarm             | a fire alarm             | fire alarm             | 15 |  4
Chainsaw               | a chainsaw               | chainsaw               | 15 |  2
Cello                  | a cello                  | cello                  | 15 |  2
Banjo                  | a banjo                  | banjo                  | 15 |  2
Singing                | people singing           | singing                | 18 |  1
Chicken_rooster        | a chicken or a rooster   | chicken, rooster       | 15 |  2
Violin_fiddle          | a violin                 | violin fiddle          | 15 |  3
Vacuum_cleaner         | a vaccum cleaner         | vacuum cleaner         | 15 |  0
Baby_laughter          | a laughing baby          | baby laughter          | 15 |  2
Accordion              | an accordion             | accordion              | 15 |  2
Lawn_mower             | a lawnmower              | lawn mower             | 15 |  2
Motorcycle             | a motorcycle             | motorcycle             | 15 |  0
Helicopter             | a helicopter             | helicopter             | 16 |  2
Acoustic_guitar        | a acoustic guiter        | acoustic guitar        | 14 | -1
Telephone_bell_ringing | a ringing telephone      | telephone bell ringing | 15 |  2
Baby_cry_infant_cry    | a crying baby            | baby cry, infant cry   | 15 |  3
Blender                | a blender                | blender                | 15 |  3
Clapping               | hands clapping           | clapping               | 18 |  0
"""


def _parse_table() -> tuple[ValorClass, ...]:
    rows = ([cell.strip() for cell in line.split("|")] for line in _TABLE.strip().splitlines())
    return tuple(
        ValorClass(
            label, f"A photo of {photo}.", f"This is a sound of {sound}", float(clip), float(clap)
        )
        for label, photo, sound, clip, clap in rows
    )


VALOR_CLASSES = _parse_table()
VALOR_LABELS = tuple(each.label for each in VALOR_CLASSES)
CLIP_PROMPTS: Mapping[str, str] = {each.label: each.clip_prompt for each in VALOR_CLASSES}
CLAP_PROMPTS: Mapping[str, str] = {each.label: each.clap_prompt for each in VALOR_CLASSES}


def text_prompt(label: str, prompts: str, valor: Mapping[str, str]) -> str:
    """Return the sentence for a label: a template filled in, or VALOR's sentence.

    Args:
        label: The label.
        prompts: A sentence with {} for the label, or `valor`.
        valor: VALOR's sentence by label.

    Raises:
        StoreError: The template has no {}, or VALOR has no sentence for the label.
    """
    if prompts == "valor":
        if label not in valor:
            raise StoreError(f"prompts=valor has no sentence for {label!r}, only for LLP's labels")
        return valor[label]
    if "{}" not in prompts:
        raise StoreError(f"prompts={prompts!r} must contain {{}} for the label, or be 'valor'")
    return prompts.replace("{}", label.replace("_", " "))
