"""The numbers of the UAVM paper's figures: arrays in, tables out."""
