"""The stored runs as one file of a release, from which `ganad-lab` fetches them: `python tests/release.py FOLDER`.

The wheel holds the size and the sha256 of each file in it, so both are made from the same commit. The same files make the
same archive, to the last byte: sorted, not compressed (networks hardly are compressible), and with one fixed time.
"""
import sys, zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import ganad


def archive(
    folder, # Where it shall be
    root=ROOT, # A clone
) -> Path: # ganad-stored-VERSION.zip
    "Everything below `nbs/stored`, by its path in the clone"
    path = Path(folder)/f'ganad-stored-{ganad.__version__}.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as out:
        for file in sorted(p for p in (root/'nbs/stored').rglob('*') if p.is_file() and p.name[0] != '.'):
            entry = zipfile.ZipInfo(file.relative_to(root).as_posix())
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            out.writestr(entry, file.read_bytes())
    return path


if __name__ == '__main__':
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir(): sys.exit('release.py takes one folder that exists; as in: python tests/release.py dist')
    print(archive(sys.argv[1]))
