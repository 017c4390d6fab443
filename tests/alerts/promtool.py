"""Runs rules through promtool: series by the minute in, recorded figures out."""

import subprocess

import yaml

MINUTES = 10


def growing(name, per_second, **labels):
    """A counter that grows by so much a second, a sample each minute."""
    return _series(name, labels, f"0+{per_second * 60:.12g}x{MINUTES}")


def constant(name, value, **labels):
    return _series(name, labels, f"{value:.12g}x{MINUTES}")


def _series(name, labels, values):
    text = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{text}}}", "values": values}


def check(program, folder, rules, series, expected):
    """Hold recorded figures against ``expected``: (metric, labels) to value, in millionths; absent where ``None``."""
    (folder / "rules.yaml").write_text(rules)
    tests = [
        {
            "expr": f"round({name} * 1e6)",
            "eval_time": f"{MINUTES}m",
            "exp_samples": [
                {"labels": _braces(labels), "value": round(value * 1e6)}
                for labels, value in samples
                if value is not None
            ],
        }
        for name, samples in expected.items()
    ]
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [program, "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def _braces(labels):
    return "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"
