"""Recurrent networks and networks over words."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, real, tokens


class LSTMClassifier(nn.Module):
    def __init__(self, n_in=20, hidden=32, layers=2, classes=5):
        super().__init__()
        self.lstm = nn.LSTM(n_in, hidden, layers, batch_first=True, dropout=0.1)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out[:, -1, :])


class GRULastState(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(20, 32)
        self.gru = nn.GRU(32, 24, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, x):
        _, h_n = self.gru(F.relu(self.proj(x)))
        return self.head(torch.cat([h_n[-2], h_n[-1]], dim=1))


class Seq2Seq(nn.Module):
    """An encoder's state starts a decoder that is fed with the right words."""

    def __init__(self, vocab=60, emb=24, hidden=32):
        super().__init__()
        self.src, self.tgt = nn.Embedding(vocab, emb), nn.Embedding(vocab, emb)
        self.encoder = nn.GRU(emb, hidden, batch_first=True)
        self.decoder = nn.GRU(emb, hidden, batch_first=True)
        self.out = nn.Linear(hidden, vocab)

    def forward(self, src, tgt):
        _, state = self.encoder(self.src(src))
        out, _ = self.decoder(self.tgt(tgt), state)
        return self.out(out)


class LuongAttention(nn.Module):
    """A decoder that looks back at the encoder with dot products."""

    def __init__(self, n=16, hidden=24):
        super().__init__()
        self.enc = nn.LSTM(n, hidden, batch_first=True)
        self.dec = nn.LSTM(n, hidden, batch_first=True)
        self.wa = nn.Linear(hidden, hidden, bias=False)
        self.wc = nn.Linear(2 * hidden, hidden)
        self.out = nn.Linear(hidden, n)

    def forward(self, x, y):
        enc, state = self.enc(x)
        dec, _ = self.dec(y, state)
        scores = torch.bmm(dec, self.wa(enc).transpose(1, 2))
        context = torch.bmm(torch.softmax(scores, dim=-1), enc)
        return self.out(torch.tanh(self.wc(torch.cat([context, dec], dim=-1))))


class LSTMCellLoop(nn.Module):
    """A cell stepped by hand over the time."""

    def __init__(self, n=16, hidden=24):
        super().__init__()
        self.hidden = hidden
        self.cell = nn.LSTMCell(n, hidden)
        self.fc = nn.Linear(hidden, 4)

    def forward(self, x):
        h = x.new_zeros(x.size(0), self.hidden)
        c = x.new_zeros(x.size(0), self.hidden)
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t], (h, c))
        return self.fc(h)


class HandGRU(nn.Module):
    """The gates written out with linear layers, one loop step a frame."""

    def __init__(self, n=16, h=24):
        super().__init__()
        self.h = h
        self.xz, self.hz = nn.Linear(n, 2 * h), nn.Linear(h, 2 * h, bias=False)
        self.xn, self.hn = nn.Linear(n, h), nn.Linear(h, h)
        self.fc = nn.Linear(h, 4)

    def forward(self, x):
        s = torch.zeros(x.shape[0], self.h)
        for t in range(x.shape[1]):
            z, r = torch.sigmoid(self.xz(x[:, t]) + self.hz(s)).chunk(2, -1)
            n = torch.tanh(self.xn(x[:, t]) + r * self.hn(s))
            s = (1 - z) * n + z * s
        return self.fc(s)


class TextCNN(nn.Module):
    """Kernels of several lengths over word vectors, the largest of each (Kim 2014)."""

    def __init__(self, vocab=100, dim=32, kernels=(2, 3, 4), filters=24, classes=4):
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim, padding_idx=0)
        self.convs = nn.ModuleList([nn.Conv2d(1, filters, (k, dim)) for k in kernels])
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(len(kernels) * filters, classes)

    def conv_and_pool(self, x, conv):
        x = F.relu(conv(x)).squeeze(3)
        return F.max_pool1d(x, x.size(2)).squeeze(2)

    def forward(self, x):
        out = self.embedding(x)
        out = out.unsqueeze(1)
        out = torch.cat([self.conv_and_pool(out, conv) for conv in self.convs], 1)
        return self.fc(self.dropout(out))


class FastText(nn.Module):
    def __init__(self, vocab=100, dim=32):
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 40), nn.Linear(40, 4)

    def forward(self, x):
        out = self.embedding(x).mean(1)
        return self.fc2(F.relu(self.fc1(out)))


class WordLSTM(nn.Module):
    """A language model whose output weights are its embedding's."""

    def __init__(self, ntoken=80, ninp=32):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = nn.LSTM(ninp, ninp, 1)
        self.decoder = nn.Linear(ninp, ntoken)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens):
        emb = self.drop(self.encoder(tokens.t()))
        output, _ = self.rnn(emb)
        return F.log_softmax(self.decoder(self.drop(output)), dim=-1)


class QuartzNet(nn.Module):
    """Separable convolutions along time to letters (Kriman et al. 2020)."""

    def __init__(self, c=32):
        super().__init__()

        def sep(i, o, k):
            return nn.Sequential(
                nn.Conv1d(i, i, k, padding=k // 2, groups=i, bias=False), nn.Conv1d(i, o, 1),
                nn.BatchNorm1d(o, eps=1e-3),
            )  # fmt: skip

        self.prolog = nn.Sequential(sep(40, c, 11), nn.ReLU())
        self.body, self.res = sep(c, c, 13), nn.Sequential(nn.Conv1d(c, c, 1), nn.BatchNorm1d(c))
        self.epilog = nn.Sequential(sep(c, 48, 15), nn.ReLU())
        self.decoder = nn.Conv1d(48, 28, 1)

    def forward(self, x):
        x = self.prolog(x)
        x = F.relu(self.body(x) + self.res(x))
        return F.log_softmax(self.decoder(self.epilog(x)).transpose(1, 2), dim=-1)


class CTCNet(nn.Module):
    """CRNN that reads a line of text: columns of a picture as time (Shi et al. 2017)."""

    def __init__(self, nclass=20, nh=24):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(2, 2),
            nn.Conv2d(16, 24, 3, 1, 1), nn.BatchNorm2d(24), nn.ReLU(True), nn.MaxPool2d((8, 1)),
        )  # fmt: skip
        self.rnn = nn.LSTM(24, nh, bidirectional=True)
        self.embedding = nn.Linear(nh * 2, nclass)

    def forward(self, x):
        conv = self.cnn(x)
        b, c, h, w = conv.size()
        conv = conv.squeeze(2).permute(2, 0, 1)
        recurrent, _ = self.rnn(conv)
        t, b, h = recurrent.size()
        out = self.embedding(recurrent.view(t * b, h))
        return out.view(t, b, -1)


FRAMES = (real(12, 16),)
CASES = (
    Case("LSTM classifier", LSTMClassifier, (real(12, 20),)),
    Case("GRU, last states", GRULastState, (real(12, 20),)),
    Case("sequence to sequence", Seq2Seq, (tokens(8, 60), tokens(7, 60))),
    Case("decoder with dot attention", LuongAttention, (real(8, 16), real(6, 16))),
    Case("LSTM cell in a loop", LSTMCellLoop, FRAMES),
    Case("gates by hand", HandGRU, FRAMES),
    Case("TextCNN", TextCNN, (tokens(16, 100),)),
    Case("fastText", FastText, (tokens(16, 100),)),
    Case("language model, tied", WordLSTM, (tokens(10, 80),)),
    Case("QuartzNet", QuartzNet, (real(40, 50),)),
    Case("line of text, CTC", CTCNet, (real(1, 16, 40),)),
)
