"""What every OpenMMLab task shares: backbone, optimizer groups, exact resume, safe files, running.

The design gave each task a backbone wrapper of its own. One is enough, for a class in mmengine's
root registry serves them all; so what segmentation and detection share lives here instead.
"""

from lightvit_bench import compat

compat.prepare()  # mmengine's environment report imports torchvision
