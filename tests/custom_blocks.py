# SPDX-License-Identifier: Apache-2.0
"""Five small networks with blocks as layers of their own, as users write them."""

import numpy as np
import tensorflow as tf


def network(keras, name):
    """One of five networks."""
    L = keras.layers

    class Window(L.Layer):
        """Swin block: shifted windows, attention by hand, relative positions, MLP."""

        def __init__(self, dim, heads, window=4, shift=2, mlp_ratio=2, **kw):
            super().__init__(**kw)
            self.dim, self.heads, self.window, self.shift, self.mlp_ratio = (
                dim,
                heads,
                window,
                shift,
                mlp_ratio,
            )
            self.head_dim = dim // heads
            self.scale = self.head_dim**-0.5
            self.norm1 = L.LayerNormalization(epsilon=1e-5)
            self.qkv = L.Dense(3 * dim)
            self.proj = L.Dense(dim)
            self.norm2 = L.LayerNormalization(epsilon=1e-5)
            self.fc1 = L.Dense(dim * mlp_ratio, activation="gelu")
            self.fc2 = L.Dense(dim)
            c = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij")).reshape(
                2, -1
            )
            r = (c[:, :, None] - c[:, None, :]).transpose(1, 2, 0) + window - 1
            self.index = (r[..., 0] * (2 * window - 1) + r[..., 1]).reshape(-1)

        def build(self, shape):
            self.table = self.add_weight(
                shape=((2 * self.window - 1) ** 2, self.heads),
                initializer="random_normal",
                name="table",
            )
            super().build(shape)

        def get_config(self):
            return {
                **super().get_config(),
                "dim": self.dim,
                "heads": self.heads,
                "window": self.window,
                "shift": self.shift,
                "mlp_ratio": self.mlp_ratio,
            }

        def call(self, x):
            _, h, w, c = x.shape
            s, n = self.window, self.window**2
            skip = x
            x = self.norm1(x)
            if self.shift:
                x = tf.roll(x, (-self.shift, -self.shift), (1, 2))
            x = tf.reshape(x, (-1, h // s, s, w // s, s, c))
            x = tf.reshape(tf.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, n, c))
            qkv = tf.reshape(self.qkv(x), (-1, n, 3, self.heads, self.head_dim))
            q, k, v = tf.unstack(tf.transpose(qkv, (2, 0, 3, 1, 4)))
            a = tf.matmul(q * self.scale, k, transpose_b=True)
            bias = tf.reshape(
                tf.gather(tf.convert_to_tensor(self.table), self.index), (n, n, self.heads)
            )
            a = tf.nn.softmax(a + tf.transpose(bias, (2, 0, 1))[None], -1)
            x = tf.reshape(tf.transpose(a @ v, (0, 2, 1, 3)), (-1, n, self.heads * self.head_dim))
            x = self.proj(x)
            x = tf.reshape(x, (-1, h // s, w // s, s, s, c))
            x = tf.reshape(tf.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, h, w, c))
            if self.shift:
                x = tf.roll(x, (self.shift, self.shift), (1, 2))
            x = skip + x
            return x + self.fc2(self.fc1(self.norm2(x)))

    class Patches(L.Layer):
        """ViT: patches, class token, positions."""

        def __init__(self, dim, patch, **kw):
            super().__init__(**kw)
            self.dim, self.patch = dim, patch
            self.conv = L.Conv2D(dim, patch, strides=patch)

        def build(self, shape):
            n = (shape[1] // self.patch) * (shape[2] // self.patch)
            self.token = self.add_weight(
                shape=(1, 1, self.dim), initializer="random_normal", name="token"
            )
            self.place = self.add_weight(
                shape=(1, n + 1, self.dim), initializer="random_normal", name="place"
            )
            self.conv.build(shape)
            super().build(shape)

        def get_config(self):
            return {**super().get_config(), "dim": self.dim, "patch": self.patch}

        def call(self, x):
            x = self.conv(x)
            x = tf.reshape(x, (tf.shape(x)[0], x.shape[1] * x.shape[2], self.dim))
            token = tf.broadcast_to(self.token, (tf.shape(x)[0], 1, self.dim))
            return tf.concat([token, x], 1) + self.place

    class Mlp(L.Layer):
        def __init__(self, hidden, out, rate=0.1, **kw):
            super().__init__(**kw)
            self.hidden, self.out, self.rate = hidden, out, rate
            self.net = keras.Sequential(
                [L.Dense(hidden, activation="gelu"), L.Dropout(rate), L.Dense(out), L.Dropout(rate)]
            )

        def build(self, shape):
            self.net.build(shape)
            super().build(shape)

        def get_config(self):
            return {
                **super().get_config(),
                "hidden": self.hidden,
                "out": self.out,
                "rate": self.rate,
            }

        def call(self, x, training=None):
            return self.net(x, training=training)

    class Encoder(L.Layer):
        def __init__(self, dim, heads, hidden, **kw):
            super().__init__(**kw)
            self.dim, self.heads, self.hidden = dim, heads, hidden
            self.n1, self.n2 = L.LayerNormalization(), L.LayerNormalization()
            self.att = L.MultiHeadAttention(heads, dim // heads)
            self.mlp = Mlp(hidden, dim)

        def get_config(self):
            return {
                **super().get_config(),
                "dim": self.dim,
                "heads": self.heads,
                "hidden": self.hidden,
            }

        def call(self, x, training=None):
            y = self.n1(x)
            x = x + self.att(y, y, training=training)
            return x + self.mlp(self.n2(x), training=training)

    class ConvNeXt(L.Layer):
        def __init__(self, dim, scale=1e-1, drop=0.1, **kw):
            super().__init__(**kw)
            self.dim, self.init, self.drop = dim, scale, drop
            self.dw = L.DepthwiseConv2D(7, padding="same")
            self.norm = L.LayerNormalization(epsilon=1e-6)
            self.pw1, self.pw2 = L.Dense(4 * dim), L.Dense(dim)

        def build(self, shape):
            self.gamma = self.add_weight(
                shape=(self.dim,), initializer=keras.initializers.Constant(self.init), name="gamma"
            )
            super().build(shape)

        def get_config(self):
            return {**super().get_config(), "dim": self.dim, "scale": self.init, "drop": self.drop}

        def call(self, x, training=None):
            y = self.pw2(tf.nn.gelu(self.pw1(self.norm(self.dw(x)))))
            y = self.gamma * y
            if training:
                y = y * tf.floor(1 - self.drop + tf.random.uniform((tf.shape(y)[0], 1, 1, 1)))
            return x + y

    class Upsample(L.Layer):
        def __init__(self, filters, r, **kw):
            super().__init__(**kw)
            self.filters, self.r = filters, r
            self.conv = L.Conv2D(filters * r * r, 3, padding="same")
            self.act = L.PReLU(shared_axes=[1, 2])

        def get_config(self):
            return {**super().get_config(), "filters": self.filters, "r": self.r}

        def call(self, x):
            return self.act(tf.nn.depth_to_space(self.conv(x), self.r))

    class CBS(L.Layer):
        def __init__(self, filters, k=1, s=1, **kw):
            super().__init__(**kw)
            self.filters, self.k, self.s = filters, k, s
            self.conv = L.Conv2D(filters, k, s, padding="same", use_bias=False)
            self.bn = L.BatchNormalization()

        def get_config(self):
            return {**super().get_config(), "filters": self.filters, "k": self.k, "s": self.s}

        def call(self, x, training=None):
            return tf.nn.silu(self.bn(self.conv(x), training=training))

    class C2f(L.Layer):
        def __init__(self, filters, n=1, **kw):
            super().__init__(**kw)
            self.filters, self.n = filters, n
            self.cv1, self.cv2 = CBS(filters), CBS(filters)
            self.blocks = [CBS(filters // 2, 3) for _ in range(2 * n)]

        def get_config(self):
            return {**super().get_config(), "filters": self.filters, "n": self.n}

        def call(self, x, training=None):
            parts = list(tf.split(self.cv1(x, training=training), 2, -1))
            for one, other in zip(self.blocks[::2], self.blocks[1::2]):
                parts.append(
                    parts[-1] + other(one(parts[-1], training=training), training=training)
                )
            return self.cv2(tf.concat(parts, -1), training=training)

    class SPPF(L.Layer):
        def __init__(self, filters, **kw):
            super().__init__(**kw)
            self.filters = filters
            self.cv1, self.cv2 = CBS(filters // 2), CBS(filters)
            self.pool = L.MaxPooling2D(5, 1, "same")

        def get_config(self):
            return {**super().get_config(), "filters": self.filters}

        def call(self, x, training=None):
            x = self.cv1(x, training=training)
            y = self.pool(x)
            z = self.pool(y)
            return self.cv2(tf.concat([x, y, z, self.pool(z)], -1), training=training)

    if name == "swin":
        i = keras.Input((8, 8, 3))
        x = L.Conv2D(16, 1)(i)
        x = Window(16, 2, shift=0)(x)
        x = Window(16, 2)(x)
        m = keras.Model(i, L.Dense(4)(L.GlobalAveragePooling2D()(x)))
    elif name == "vit":
        i = keras.Input((8, 8, 3))
        x = Patches(16, 4)(i)
        x = Encoder(16, 2, 24)(x)
        x = Encoder(16, 2, 24)(x)
        m = keras.Model(i, L.Dense(4)(L.LayerNormalization()(x)[:, 0]))
    elif name == "convnext":
        i = keras.Input((8, 8, 3))
        x = L.Conv2D(16, 2, 2)(i)
        x = ConvNeXt(16)(x)
        x = ConvNeXt(16)(x)
        m = keras.Model(i, L.Dense(4)(L.GlobalAveragePooling2D()(x)))
    elif name == "pixel":
        i = keras.Input((8, 8, 3))
        x = L.Conv2D(16, 3, padding="same", activation="relu")(i)
        x = Upsample(12, 2)(x)
        x = Upsample(8, 2)(x)
        m = keras.Model(i, L.Conv2D(3, 3, padding="same")(x))
    elif name == "yolo":
        i = keras.Input((16, 16, 3))
        p3 = CBS(16, 3, 2)(i)
        p4 = SPPF(16)(CBS(16, 3, 2)(p3))
        u = L.UpSampling2D()(p4)
        t = C2f(16, 1)(L.Concatenate()([u, p3]))
        d = C2f(16, 2)(L.Concatenate()([CBS(16, 3, 2)(t), p4]))
        m = keras.Model(i, [L.Conv2D(5, 1)(t), L.Conv2D(5, 1)(d)])
    m.own_classes = (Window, Patches, Mlp, Encoder, ConvNeXt, Upsample, CBS, C2f, SPPF)
    return m


NAMES = ("swin", "vit", "convnext", "pixel", "yolo")
