"""What `pyproject.toml` cannot say: the wheel carries the notebooks, for `ganad-lab`; without outputs, and with a list of what is in `nbs/stored`."""
import hashlib, json, shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SKIP = shutil.ignore_patterns('_docs', '_proc', 'runs', 'images', '__pycache__', '.*', '*.yml', '*.css', '*.safetensors')


def without_outputs(
    notebook, # Path of a copy, which is changed
):
    "Takes out what running it would make again, and what would make the wheel large"
    nb = json.loads(notebook.read_text(encoding='utf-8'))
    for cell in nb['cells']:
        if cell['cell_type'] == 'code': cell.update(outputs=[], execution_count=None)
    notebook.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


def release(
    metadata, # The distribution's
) -> dict: # What `ganad.lab.stored_files` reads
    "The address of the archive that `tests/release.py` makes, and size and sum of each file in it"
    version = metadata.get_version()
    files = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted((ROOT/'nbs/stored').rglob('*')) if path.is_file() and path.name[0] != '.'}
    return dict(url=f"{metadata.project_urls['Repository']}/releases/download/v{version}/ganad-stored-{version}.zip",
                files={name: dict(size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in files.items()})


class WithNotebooks(build_py):
    "Copies `nbs` and `settings.ini` into the package that is being built; an editable one reads the clone's own"
    def run(self):
        super().run()
        if self.editable_mode: return
        to = Path(self.build_lib)/'ganad'/'notebooks'
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(ROOT/'nbs', to/'nbs', ignore=SKIP)
        shutil.copy2(ROOT/'settings.ini', to/'settings.ini')
        for notebook in to.rglob('*.ipynb'): without_outputs(notebook)
        (to/'stored.json').write_text(json.dumps(release(self.distribution.metadata), indent=0))


setup(cmdclass=dict(build_py=WithNotebooks))
