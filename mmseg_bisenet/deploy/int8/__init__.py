"""int8 on CPUs: the whole network in kernels of C++, with bytes between the layers.

How it works, in the order of the files:

- ``trace`` gets the network's graph from torch.export, and ``plan`` makes a list of ``steps`` of it. A convolution
  takes the addition and the ReLU behind it into itself, a gate its resizing and its sigmoid. A network is refused if it
  has anything that no kernel computes.
- ``ranges`` measures on images how large each value becomes.
- ``file`` writes and reads a plan, and ``shapes`` checks it. Only what comes before this needs PyTorch.
- ``packing`` quantizes weights, and orders them as the kernels read them; ``maps`` says how feature maps lie in memory,
  and ``memory`` lets large ones share it.
- ``network`` has the packed weights, which all threads share, and ``run`` the maps and the calls of one thread;
  ``layers`` has what the kernels are given.
- ``library`` compiles ``kernels/*.h`` once for this machine's CPU, and loads them.

The kernels, each called by all threads at the same time, which take rows or tiles until none is left:

- ``direct``: any kernel and stride. 24 vectors of sums stay in registers. A row of a kernel's taps on the image, as its
  bytes lie there, is read in groups of four: 7x7 taps of three colours are 42 products instead of 49.
- ``winograd``: F(4x4, 3x3), for stride 1 and many channels: a quarter of the products. The transform of the patches is
  exact in 16 bits. Then each of the 36 values of a tile is quantized with a scale of its own, over the channels. One
  scale for all tiles, from images seen beforehand, as in LoWino (Li et al., ICPP 2021), has three to five times the
  error: 98.7 % of the labels of CamVid's validation images equal float32's, and 99.4 % with a scale for each tile.
  The head's kernel multiplies each tile by the classifier's weights at once, and keeps only the scores: its 1024
  channels would take 8 MB at 512x1024.
- ``mean``, ``linear`` and ``scaled``: attention over channels, of which only the map is bytes.
- ``depthwise``, ``max_pool``, ``nearest``, ``bilinear``, ``gate``, and ``pixels``, which copies the image.

Weights have one byte, and one scale for each output channel. Those of convolutions on the image are rounded with care
(``packing.of_image``), because their filters are differences of pixels that are nearly equal. On photographs the error
of their outputs is then 0.05 of a unit of the bytes that store them, whose own rounding has an error of 0.29. If
each weight is rounded alone, with the constant channel beside the colours, it is 0.4 to 0.75.

What is assumed: Linux, AVX-512 with VNNI and VBMI, GCC's OpenMP, and a compiler. ``library.require`` checks.
"""
