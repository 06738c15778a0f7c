"""Writes csrc/ruleset/default_blob.cpp from the shipped packs and the calibration."""

from pathlib import Path

from overread import ruleset

ROOT = Path(__file__).resolve().parent.parent
blob = ruleset.compile(sorted((ROOT / "src/overread/rules").glob("*.toml")), ROOT / "calibration/calibration.toml")
(ROOT / "csrc/ruleset/default_blob.cpp").write_text(ruleset.c_source(blob))
print(f"csrc/ruleset/default_blob.cpp: {len(blob)} bytes of blob")
