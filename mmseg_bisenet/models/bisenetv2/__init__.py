from mmseg_bisenet.models.bisenetv2.backbone import BiSeNetV2

__all__ = ['BiSeNetV2']
