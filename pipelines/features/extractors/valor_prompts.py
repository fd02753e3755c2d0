"""Hold the sentences and thresholds of VALOR's pseudo labels, for each dataset's classes in order.

LLP's are published: Lai et al., VALOR, NeurIPS 2023; Franklin905/VALOR at 2677da9. Misspelt words
are kept, because the thresholds hold for the embeddings of exactly these sentences. AVE's are
derived from them: a class that LLP has too takes LLP's, and any other has a sentence of the same
form and the medians of LLP's thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

from avstore.manifests.store import StoreError


@dataclass(frozen=True)
class ValorClass:
    """Hold one class.

    Attributes:
        label: The label in the dataset.
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


_LLP = """
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


# Label, and either LLP's class or what is seen and heard.
_AVE = """
Church bell                     | a church bell    | church bell
Male speech, man speaking       | a man talking    | male speech, man speaking
Bark                            | a barking dog    | bark
Fixed-wing aircraft, airplane   | an airplane      | fixed-wing aircraft, airplane
Race car, auto racing           | a race car       | race car, auto racing
Female speech, woman speaking   | a woman talking  | female speech, woman speaking
Helicopter                      | Helicopter
Violin, fiddle                  | Violin_fiddle
Flute                           | a flute          | flute
Ukulele                         | a ukulele        | ukulele
Frying (food)                   | Frying_(food)
Truck                           | a truck          | truck
Shofar                          | a shofar         | shofar
Motorcycle                      | Motorcycle
Acoustic guitar                 | Acoustic_guitar
Train horn                      | a train          | train horn
Clock                           | a clock          | clock
Banjo                           | Banjo
Goat                            | a goat           | goat
Baby cry, infant cry            | Baby_cry_infant_cry
Bus                             | a bus            | bus
Chainsaw                        | Chainsaw
Cat                             | Cat
Horse                           | a horse          | horse
Toilet flush                    | a toilet         | toilet flush
Rodents, rats, mice             | a rat or a mouse | rodents, rats, mice
Accordion                       | Accordion
Mandolin                        | a mandolin       | mandolin
"""


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def _class(label: str, seen: str, heard: str, clip: float, clap: float) -> ValorClass:
    return ValorClass(label, f"A photo of {seen}.", f"This is a sound of {heard}", clip, clap)


def _ave_class(label: str, seen: str, heard: str = "") -> ValorClass:
    if not heard:
        return replace(_LLP_CLASS[seen], label=label)
    clip = median(each.clip_threshold for each in VALOR_CLASSES)
    clap = median(each.clap_threshold for each in VALOR_CLASSES)
    return _class(label, seen, heard, clip, clap)


VALOR_CLASSES = tuple(
    _class(label, seen, heard, float(clip), float(clap))
    for label, seen, heard, clip, clap in _rows(_LLP)
)
_LLP_CLASS = {each.label: each for each in VALOR_CLASSES}
CLASSES: Mapping[str, tuple[ValorClass, ...]] = {
    "llp": VALOR_CLASSES,
    "ave": tuple(_ave_class(*row) for row in _rows(_AVE)),
}
"""Classes by dataset."""

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
