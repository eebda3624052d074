"""README.md is the home page, `nbs/index.ipynb`, with its saved outputs: `python tests/readme.py` writes it.

What Quarto would do with `nbdev-readme`, without Quarto. Figures are saved to `nbs/images`; `--check` writes nothing
and ends with status 1 if the README or a figure is not what the notebook holds.
"""
import argparse, base64, re, sys
from pathlib import Path

from fastcore.nbio import read_nb

ROOT = Path(__file__).resolve().parents[1]
NOTE = '<!-- Made from nbs/index.ipynb by tests/readme.py: edit the notebook -->'
joined = lambda text: ''.join(text)


def options(
    source, # The source of a code cell
) -> tuple: # Its `#|` options, a bare directive with an empty value; the code below them
    lines, found = source.splitlines(), {}
    while lines and lines[0].startswith('#|'):
        key, _, value = lines.pop(0)[2:].strip().partition(':')
        found[key.strip()] = value.strip().strip('"\'')
    return found, '\n'.join(lines).strip()


def prose(
    text, # The source of a markdown cell
) -> str: # The same as Git hosts render it, with links and images meant from the root
    "Callouts become quotations, other Quarto divs their content; relative links lead into `nbs`"
    out, kinds = [], []
    for line in text.splitlines():
        opened = re.match(r':{3,}\s*(\{.*\})\s*$', line)
        if opened:
            callout = re.search(r'\.callout-(\w+)', opened[1])
            kinds.append(callout and callout[1])
            if callout: out.append(f'> [!{callout[1].upper()}]')
        elif re.match(r':{3,}\s*$', line) and kinds: kinds.pop()
        else: out.append(f'> {line}'.rstrip() if any(kinds) else line)
    return re.sub(r'(\]\()(?![a-z]+:|#|/)([^)\s]+)', lambda m: f'{m[1]}nbs/{m[2]}', '\n'.join(out))


def output(
    out,    # One saved output
    alt,    # What its figure shows, in words
    images, # Filled with the figures: name -> bytes
) -> str: # Markdown
    data = out.get('data', {})
    if 'image/png' in data:
        name = f'index-{len(images) + 1}.png'
        images[name] = base64.b64decode(joined(data['image/png']))
        return f'![{alt}](nbs/images/{name})'
    if 'text/markdown' in data: return prose(joined(data['text/markdown']))
    if 'text/html' in data: return re.sub(r'<style.*?</style>\s*', '', joined(data['text/html']), flags=re.S).strip()
    text = joined(out.get('text', data.get('text/plain', ''))).rstrip()
    return f'```\n{text}\n```' if text else ''


def render(
    notebook, # The home page
) -> tuple: # The README's text; its figures, name -> bytes
    parts, images = [], {}
    for cell in read_nb(notebook).cells:
        if cell.cell_type == 'markdown': parts.append(prose(cell.source))
        if cell.cell_type != 'code': continue
        opts, code = options(cell.source)
        if {'hide', 'export', 'default_exp'} & opts.keys() or opts.get('include') == 'false': continue
        if code and opts.get('echo') != 'false': parts.append(f'```python\n{code}\n```')
        if opts.get('output') == 'false': continue
        parts += [output(out, opts.get('fig-alt', ''), images) for out in cell.outputs]
    first, *rest = [part.strip() for part in parts if part.strip()]
    return '\n\n'.join([first, NOTE, *rest]) + '\n', images


def main():
    parser = argparse.ArgumentParser(description='Make README.md from nbs/index.ipynb')
    parser.add_argument('--check', action='store_true', help='write nothing; status 1 if the README is out of step')
    args = parser.parse_args()
    text, images = render(ROOT/'nbs/index.ipynb')
    files = {ROOT/'README.md': text.encode(), **{ROOT/'nbs/images'/name: data for name, data in images.items()}}
    stale = [path for path, data in files.items() if not path.is_file() or path.read_bytes() != data]
    stale += [path for path in (ROOT/'nbs/images').glob('index-*.png') if path not in files]
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is not what nbs/index.ipynb holds' if args.check else 'written' if path in files else 'removed'}")
        if args.check: continue
        if path not in files: path.unlink()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(files[path])
    if args.check and stale: sys.exit('run: python tests/readme.py')


if __name__ == '__main__': main()
