"""Scores computed again from what a run record kept: predictions and truth.

    keeping: what a record says of the files, their digests among them; used by what writes records
    verify:  the record's digests, then its score, against the files that are there now

No mm*, no torch: a score can be checked wherever numpy (and for COCO one of its two evaluators) is.
"""

from lightvit_bench.verification.verify import Check, Verification, verify_record

__all__ = ["Check", "Verification", "verify_record"]
