"""What `pyproject.toml` cannot say: the wheel carries the notebooks, for `ganad-lab`."""
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SKIP = shutil.ignore_patterns('_docs', '_proc', 'runs', 'images', '__pycache__', '.*', '*.yml', '*.css')


class WithNotebooks(build_py):
    "Copies `nbs` and `settings.ini` into the package that is being built; an editable one reads the clone's own"
    def run(self):
        super().run()
        if self.editable_mode: return
        to = Path(self.build_lib)/'ganad'/'notebooks'
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(ROOT/'nbs', to/'nbs', ignore=SKIP)
        shutil.copy2(ROOT/'settings.ini', to/'settings.ini')


setup(cmdclass=dict(build_py=WithNotebooks))
