"""What a detector gets wrong and where: false positives, false negatives and sensitivity, as DETAD defines them.

DETAD is "Diagnosing Error in Temporal Action Detectors" (Alwassel, Caba Heilbron, Escorcia, Ghanem, ECCV 2018) with
the program its authors published. Each module says where it deviates from that program.
"""
