"""A ROS 2 node that publishes the labels of a camera's images. **Not run on ROS yet**, only with a stand-in for rclpy.

    pip install ".[run]"    # into an environment that sees ROS's packages (python -m venv --system-site-packages)
    python examples/ros2_node.py --ros-args -r image:=/camera/image_raw -p model:=exported/NAME_fp32_360x480.onnx

``labels`` is a ``sensor_msgs/Image`` of encoding ``mono8``: class indices, of the image's size, stamp and frame. While
an image is labelled, ROS keeps only the newest of those that arrive (a queue of one), so the delay does not grow.
"""

import array
import sys

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from mmseg_bisenet import Predictor
from mmseg_bisenet.errors import InputError, line

# Channels of each encoding, and how OpenCV converts it to BGR.
ENCODINGS = dict(
    bgr8=(3, None),
    rgb8=(3, cv2.COLOR_RGB2BGR),
    bgra8=(4, cv2.COLOR_BGRA2BGR),
    rgba8=(4, cv2.COLOR_RGBA2BGR),
    mono8=(1, cv2.COLOR_GRAY2BGR),
)


class Labels(Node):
    """Images of the topic ``image`` -> labels on the topic ``labels``."""

    def __init__(self) -> None:
        super().__init__('bisenet')
        self._predictor = Predictor(self.declare_parameter('model', 'bisenetv2_camvid').value)
        # Cameras publish with best effort, to which a reliable subscription would not connect.
        newest = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._publisher = self.create_publisher(Image, 'labels', 1)
        self.create_subscription(Image, 'image', self.receive, newest)

    def receive(self, message: Image) -> None:
        """Publish the labels of an image. An image that cannot be read is logged, and the node goes on."""
        try:
            labels = self._predictor(to_bgr(message)).labels
        except InputError as error:
            self.get_logger().error(line(error))
            return
        answer = Image(header=message.header, encoding='mono8', is_bigendian=0)
        answer.height, answer.width = labels.shape
        answer.step = answer.width
        answer.data = array.array('B', labels.tobytes())  # the one type that rclpy takes without a copy
        self._publisher.publish(answer)


def to_bgr(message: Image) -> np.ndarray:
    """(H, W, 3) uint8, BGR.

    Raises:
        InputError: the encoding is not known, or the data have another size than the message says.
    """
    if message.encoding not in ENCODINGS:
        raise InputError(f'image of encoding {message.encoding!r}: publish one of {", ".join(ENCODINGS)}')
    channels, conversion = ENCODINGS[message.encoding]
    used = message.width * channels
    if message.step < used or len(message.data) != message.height * message.step or not message.data:
        raise InputError(
            f'image of {message.width}x{message.height} in {message.encoding}: {len(message.data)} bytes and a step of '
            f'{message.step} do not fit; publish whole images'
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, :used]  # without padding
    pixels = np.ascontiguousarray(rows).reshape(message.height, message.width, channels)
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def main() -> int:
    rclpy.init(args=sys.argv)
    try:
        rclpy.spin(Labels())
    except InputError as error:
        print(f'ros2_node: error: {line(error)}', file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
