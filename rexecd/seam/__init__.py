"""The one interface between the exposed and the trusted process (`docs/SEAM.md`)."""
