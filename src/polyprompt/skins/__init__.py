"""The same classifiers as other libraries expect them: scikit-learn (sklearn.py), ONNX (onnx.py)."""
