"""Speed beside other scanners (``native``, ``calls``) and what other tools find (``peers``)."""
