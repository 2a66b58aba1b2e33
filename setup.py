"""The one build step: what mim looks for goes under ``mmseg_bisenet/.mim``.

mim and mmengine find configs, scripts and the model index of an installed package there. Everything else of the build
is said in ``pyproject.toml``. An editable install gets links instead of copies, so that edits show at once.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_FILES = ('configs', 'tools', 'model-index.yml')


class BuildPyWithMim(build_py):
    def run(self) -> None:
        built = Path(self.build_lib, 'mmseg_bisenet')
        if not self.editable_mode:
            # Files of an earlier build, deleted since, would be packed again.
            shutil.rmtree(built, ignore_errors=True)
        super().run()
        mim = (ROOT / 'mmseg_bisenet' if self.editable_mode else built) / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in MIM_FILES:
            if self.editable_mode:
                (mim / name).symlink_to(ROOT / name)
            elif (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, mim / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy2(ROOT / name, mim / name)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        mim = Path(self.build_lib, 'mmseg_bisenet', '.mim')
        return super().get_outputs(include_bytecode) + [str(path) for path in mim.rglob('*') if path.is_file()]


setup(cmdclass={'build_py': BuildPyWithMim})
