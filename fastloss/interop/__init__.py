"""The losses inside other libraries; each module is for one, and imported by its name alone.

``from fastloss.interop import lightgbm``, ``sklearn``, ``torch`` or ``xgboost``.
"""
