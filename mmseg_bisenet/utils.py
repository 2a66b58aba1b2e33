"""``register_all_modules``, which ``mmengine.hub.get_model('mmseg_bisenet::…')`` calls in a module of this name."""

from mmseg.utils import register_all_modules as register_stock


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register the classes of MMSegmentation and ours, as ``mmseg.utils.register_all_modules`` does for its own."""
    register_stock(init_default_scope)
    import mmseg_bisenet.data
    import mmseg_bisenet.engine
    import mmseg_bisenet.evaluation
    import mmseg_bisenet.models  # noqa: F401
