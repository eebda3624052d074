"""Run the notebooks, each by `nbdev-test` in a process of its own: the memory that one of them took goes with it.

`python tests/notebooks.py` runs all, or those named, two at a time; words after `--` are for `nbdev-test`. Time and peak
memory of each are printed as it ends; the exit status is 1 if one failed or held more than 2 GB. For Linux and macOS.
"""
import argparse, os, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1') # torch's threads spin: processes that share the cores would slow each other

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)


def run(
    path, # A notebook
    words=(), # More words for `nbdev-test`
) -> tuple: # Exit status; what was said; seconds; the most memory that one of its processes held, in bytes
    "One notebook, in a fresh process"
    with tempfile.TemporaryFile('w+') as said:
        begun = time.monotonic()
        process = subprocess.Popen(['nbdev-test', path, '--n-workers', '0', *words], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return process.returncode, said.read(), time.monotonic() - begun, usage.ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def main():
    parser = argparse.ArgumentParser(description='Run notebooks, each in a process of its own; words after -- are for nbdev-test')
    parser.add_argument('notebooks', nargs='*', type=Path, default=NOTEBOOKS)
    parser.add_argument('--n-workers', type=int, default=2, help='how many at a time (default: %(default)s)')
    parser.add_argument('--most', type=float, default=2., metavar='GB', help='memory that a process may hold (default: %(default)s)')
    words = sys.argv[1:]
    words, more = (words[:words.index('--')], words[words.index('--') + 1:]) if '--' in words else (words, [])
    args, failed = parser.parse_args(words), []
    pool = ThreadPoolExecutor(args.n_workers)
    running = {pool.submit(run, path.resolve(), more): os.path.relpath(path.resolve(), ROOT) for path in args.notebooks}
    try:
        for done in as_completed(running):
            name, (status, said, seconds, peak) = running[done], done.result()
            print(f'{name:42} {seconds:5.0f} s {peak/1e9:5.2f} GB', flush=True)
            if status: failed.append(f'{name}: exit status {status}')
            elif peak > args.most*1e9: failed.append(f'{name}: {peak/1e9:.2f} GB is more than {args.most:g}; let go of what is no longer needed, or take it in pieces')
            if status or more: print(said, flush=True)
    finally: pool.shutdown(cancel_futures=True)     # Ctrl-C reaches the notebooks that run, too
    print(f'{len(running)} notebooks, {len(failed)} failed', *failed, sep='\n  ')
    sys.exit(bool(failed))


if __name__ == '__main__': main()
