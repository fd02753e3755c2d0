"""Random patch selection: DER++ on half of the patches, the control of STELLA's ablation."""

from avstore.train.data import Batch
from avstore.train.methods.derpp import DERpp
from avstore.train.methods.patch_selection import SelectionMethod, SelectionOptions
from avstore.train.objective import Output
from avstore.train.systems.cavmae.objective import output
from avstore.train.systems.cavmae.patches import Patches, select_patches, shuffle


class RandomPatches(SelectionMethod, DERpp):
    """Keeps a random half of the patches of every row, current and replayed."""

    Options = SelectionOptions

    def output(self, rows: Batch) -> Output:
        """Return the system's output for the selected patches."""
        return output(self.objective.on_patches(self.select(rows)))

    def select(self, rows: Batch) -> Patches:
        """Return random patches of some rows."""
        c, device = self.objective.model.config, rows.frames.device
        return select_patches(
            self.objective.patches(rows),
            shuffle(len(rows), c.video_tokens, device)[:, : self.keep_v],
            shuffle(len(rows), c.audio_tokens, device)[:, : self.keep_a],
        )
