"""The sentences and thresholds of VALOR's pseudo labels, for LLP's 25 classes in their order.

Lai et al., VALOR, NeurIPS 2023; Franklin905/VALOR at 2677da9. The misspelt words are theirs:
they decide the numbers that the thresholds are for.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from avstore.manifests.store import StoreError


@dataclass(frozen=True)
class Row:
    """One class: what CLIP and CLAP are asked, and the logit above which a segment has it."""

    label: str
    photo: str
    sound: str
    seen: float
    heard: float


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


def _rows() -> tuple[Row, ...]:
    cells = ([cell.strip() for cell in line.split("|")] for line in _TABLE.strip().splitlines())
    return tuple(
        Row(label, f"A photo of {photo}.", f"This is a sound of {sound}", float(seen), float(heard))
        for label, photo, sound, seen, heard in cells
    )


ROWS = _rows()
LABELS = tuple(row.label for row in ROWS)
CLIP: Mapping[str, str] = {row.label: row.photo for row in ROWS}
CLAP: Mapping[str, str] = {row.label: row.sound for row in ROWS}


def sentence(label: str, prompts: str, valor: Mapping[str, str]) -> str:
    """What the text tower is asked for a label: a template filled in, or VALOR's sentence.

    Raises StoreError for a template without {}, and for a label that is not LLP's.
    """
    if prompts == "valor":
        if label not in valor:
            raise StoreError(f"prompts=valor has no sentence for {label!r}: they are LLP's 25")
        return valor[label]
    if "{}" not in prompts:
        raise StoreError(f"prompts={prompts!r} must hold {{}} for the label, or be 'valor'")
    return prompts.replace("{}", label.replace("_", " "))
