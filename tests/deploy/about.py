"""Metadata of an exported file with all fields."""

ABOUT = dict(
    format_version=1,
    precision='fp32',
    shape=[64, 128],
    dynamic=False,
    output_kind='logits',
    num_classes=2,
    align_corners=False,
    classes=['a', 'b'],
    palette=[],
)
