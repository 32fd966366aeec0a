"""What a page of results begins with, and its tables."""

import datetime

from _common import command, machine


def heading(title: str) -> str:
    """Title, date, machine, threads, versions and command line as Markdown."""
    found = machine()
    versions = ', '.join(f'{name} {found[name]}' for name in ('torch', 'torchvision', 'mmengine'))
    return (
        f'# {title}\n\n{datetime.date.today().isoformat()}; {found["cpu"]}, {found["cores"]} '
        f'cores, {found["threads"]} threads, GPU: {found["gpu"]}; {found["system"]}, '
        f'Python {found["python"]}, {versions}.\n\n'
        f'```bash\n{command()}\n```\n'
    )


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Rows of a Markdown table under their headings."""
    lines = [columns, ['---'] * len(columns), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'
