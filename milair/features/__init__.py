"""Views of pictures through a frozen backbone, kept on disk. What may be chosen stands here, light to import."""

QUOTA = 20.0  # GB that all banks may take, by default
