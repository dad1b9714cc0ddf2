"""One file per format of image-caption data; each has `fits(source)` and `rows(source)`."""
