// ML-KEM-768 (FIPS 203), written for checking vectors: not in constant time.
import crypto from 'node:crypto';
import { cat, equal, hex } from './primitives.mjs';

const Q = 3329;
const K = 3;
const hash = (name, b) => crypto.createHash(name).update(b).digest();
const shake = (name, b, outputLength) => crypto.createHash(name, { outputLength }).update(b).digest();
const mod = (a) => ((a % Q) + Q) % Q;

const reversed = (i) => {
  let r = 0;
  for (let bit = 0; bit < 7; bit++) r |= ((i >> bit) & 1) << (6 - bit);
  return r;
};
const power = (base, e) => {
  let r = 1;
  for (; e > 0; e--) r = (r * base) % Q;
  return r;
};
const ZETAS = Array.from({ length: 128 }, (_, i) => power(17, reversed(i)));
const GAMMAS = Array.from({ length: 128 }, (_, i) => power(17, 2 * reversed(i) + 1));

function ntt(p) {
  const f = p.slice();
  let i = 1;
  for (let len = 128; len >= 2; len /= 2)
    for (let start = 0; start < 256; start += 2 * len) {
      const zeta = ZETAS[i++];
      for (let j = start; j < start + len; j++) {
        const t = (zeta * f[j + len]) % Q;
        f[j + len] = mod(f[j] - t);
        f[j] = (f[j] + t) % Q;
      }
    }
  return f;
}

function inverse(p) {
  const f = p.slice();
  let i = 127;
  for (let len = 2; len <= 128; len *= 2)
    for (let start = 0; start < 256; start += 2 * len) {
      const zeta = ZETAS[i--];
      for (let j = start; j < start + len; j++) {
        const t = f[j];
        f[j] = (t + f[j + len]) % Q;
        f[j + len] = (zeta * mod(f[j + len] - t)) % Q;
      }
    }
  return f.map((x) => (x * 3303) % Q);
}

function multiply(f, g) {
  const h = new Array(256);
  for (let i = 0; i < 128; i++) {
    const [a0, a1, b0, b1] = [f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]];
    h[2 * i] = (a0 * b0 + ((a1 * b1) % Q) * GAMMAS[i]) % Q;
    h[2 * i + 1] = (a0 * b1 + a1 * b0) % Q;
  }
  return h;
}

const add = (f, g) => f.map((x, i) => (x + g[i]) % Q);
const subtract = (f, g) => f.map((x, i) => mod(x - g[i]));
const dot = (a, b) => a.map((x, i) => multiply(x, b[i])).reduce(add);

function encode(bits, f) {
  const out = Buffer.alloc(32 * bits);
  f.forEach((x, i) => {
    for (let b = 0; b < bits; b++) {
      const at = i * bits + b;
      out[at >> 3] |= ((x >> b) & 1) << (at & 7);
    }
  });
  return out;
}

function decode(bits, b) {
  return Array.from({ length: 256 }, (_, i) => {
    let x = 0;
    for (let j = 0; j < bits; j++) {
      const at = i * bits + j;
      x |= ((b[at >> 3] >> (at & 7)) & 1) << j;
    }
    return x;
  });
}

const compress = (bits, f) => f.map((x) => Math.floor((x * 2 ** bits * 2 + Q) / (2 * Q)) % 2 ** bits);
const decompress = (bits, f) => f.map((x) => Math.floor((x * Q * 2 + 2 ** bits) / 2 ** (bits + 1)));

function sampleNTT(seed) {
  for (let n = 1008; ; n *= 2) {
    const b = shake('shake128', seed, n);
    const out = [];
    for (let i = 0; i + 3 <= n && out.length < 256; i += 3) {
      const d1 = b[i] | ((b[i + 1] & 15) << 8);
      const d2 = (b[i + 1] >> 4) | (b[i + 2] << 4);
      if (d1 < Q) out.push(d1);
      if (d2 < Q && out.length < 256) out.push(d2);
    }
    if (out.length === 256) return out;
  }
}

function sampleCBD(seed, n) {
  const b = shake('shake256', cat(seed, [n]), 128);
  const bit = (i) => (b[i >> 3] >> (i & 7)) & 1;
  return Array.from({ length: 256 }, (_, i) => mod(bit(4 * i) + bit(4 * i + 1) - bit(4 * i + 2) - bit(4 * i + 3)));
}

const matrix = (rho) => Array.from({ length: K }, (_, i) => Array.from({ length: K }, (_, j) => sampleNTT(cat(rho, [j, i]))));
const parts = (b, size) => Array.from({ length: K }, (_, i) => b.subarray(i * size, (i + 1) * size));

// keys returns both halves of the key with the 64-byte seed d || z.
export function keys(seed) {
  const [d, z] = [seed.subarray(0, 32), seed.subarray(32)];
  const g = hash('sha3-512', cat(d, [K]));
  const [rho, sigma] = [g.subarray(0, 32), g.subarray(32)];
  const A = matrix(rho);
  const s = Array.from({ length: K }, (_, i) => ntt(sampleCBD(sigma, i)));
  const e = Array.from({ length: K }, (_, i) => ntt(sampleCBD(sigma, K + i)));
  const t = A.map((row, i) => add(dot(row, s), e[i]));
  return { ek: cat(...t.map((f) => encode(12, f)), rho), s, z };
}

// valid is the check of an encapsulation key of FIPS 203, section 7.2.
export function valid(ek) {
  return ek.length === 1184 && parts(ek, 384).every((p) => decode(12, p).every((x) => x < Q));
}

function encrypt(ek, m, r) {
  const t = parts(ek, 384).map((p) => decode(12, p));
  const A = matrix(ek.subarray(1152));
  const y = Array.from({ length: K }, (_, i) => ntt(sampleCBD(r, i)));
  const e1 = Array.from({ length: K }, (_, i) => sampleCBD(r, K + i));
  const e2 = sampleCBD(r, 2 * K);
  const u = e1.map((e, i) => add(inverse(dot(A.map((row) => row[i]), y)), e));
  const v = add(add(inverse(dot(t, y)), e2), decompress(1, decode(1, m)));
  return cat(...u.map((f) => encode(10, compress(10, f))), encode(4, compress(4, v)));
}

// encapsulate is ML-KEM.Encaps_internal with the randomness m.
export function encapsulate(ek, m) {
  const g = hash('sha3-512', cat(m, hash('sha3-256', ek)));
  return { shared: g.subarray(0, 32), ct: encrypt(ek, m, g.subarray(32)) };
}

export function decapsulate({ ek, s, z }, ct) {
  const u = parts(ct, 320).map((p) => decompress(10, decode(10, p)));
  const v = decompress(4, decode(4, ct.subarray(960)));
  const w = subtract(v, inverse(dot(s, u.map(ntt))));
  const m = encode(1, compress(1, w));
  const { shared, ct: again } = encapsulate(ek, m);
  return equal(again, ct) ? shared : shake('shake256', cat(z, ct), 32);
}

// selfTest fails unless a key decapsulates its own ciphertext, and implicit rejection
// gives another secret.
export function selfTest() {
  const k = keys(Buffer.alloc(64, 7));
  const { shared, ct } = encapsulate(k.ek, Buffer.alloc(32, 9));
  const other = Buffer.from(ct);
  other[0] ^= 1;
  return valid(k.ek) && equal(decapsulate(k, ct), shared) && !equal(decapsulate(k, other), shared) && !valid(cat(hex('ffff'), k.ek.subarray(2)));
}
