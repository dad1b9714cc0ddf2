"""Names that pictures and videos go by: one list for whatever looks into folders, tables and tars.

The name only decides whether a file is looked at; what it is, its bytes say (`pictures.FORMATS`, `video.is_video`).
"""

IMAGES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".heic", ".heif"}
)
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"})
SEEN = IMAGES | VIDEOS
"""All that is taken for a picture; of a video, one frame or several are seen."""
