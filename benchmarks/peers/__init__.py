"""overread beside what people use today, on the same leak windows and clean bodies: ``make peers``."""
