"""What can go wrong with the test cluster, by what its user should do next."""


class ClusterUnavailable(Exception):  # noqa: N818  (named for what it says)
    """This machine lacks something that the cluster needs; the message says what, and the remedy."""


class ClusterFailed(Exception):  # noqa: N818  (named for what it says)
    """Something of the cluster ended or did not get ready; the message names its log and quotes the end of it."""
