"""The baseline of `cold_start`: how tutorials predict, with librosa and Keras. Arguments: model.keras, song.wav.

It is kinder to itself than most: MFCC of the whole file at once, not of one window after another.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import librosa
import numpy as np

WINDOW, HOP = 9, 8  # frames

model = keras.models.load_model(sys.argv[1])
signal, rate = librosa.load(sys.argv[2], sr=16_000)
mfcc = librosa.feature.mfcc(y=signal, sr=rate, n_mfcc=13, n_fft=512, hop_length=200, n_mels=26)  # (13, n_frames)
starts = range(0, mfcc.shape[1] - WINDOW + 1, HOP)
X = np.stack([mfcc[:, start : start + WINDOW] for start in starts])[..., np.newaxis]  # (n_windows, 13, 9, 1)
scores = model.predict(X, verbose=0).mean(axis=0)
print(scores.argmax(), scores.max())
