"""ConvNeXt on filter banks: the audio extractor of UAVM (Gong et al., IEEE SPL 2022)."""
