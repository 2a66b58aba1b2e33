from mmseg_bisenet.models.bisenetv1.backbone import BiSeNetV1

__all__ = ['BiSeNetV1']
