// SPEC "Padding", "Committed AEAD", "File streams" and "Calls".
import { Reader, aeadOpen, aeadSeal, cat, equal, hkdf, refuse, sha256, u64, u8 } from './primitives.mjs';

const NONE = Buffer.alloc(0);

export function padded(n) {
  const l = n + 1;
  if (l <= 160) return 160;
  const e = Math.floor(Math.log2(l));
  const step = 2 ** (e - (Math.floor(Math.log2(e)) + 1));
  return Math.ceil(l / step) * step;
}

export const pad = (b) => cat(b, u8(0x80), Buffer.alloc(padded(b.length) - b.length - 1));

export function unpad(b, code = 'peer') {
  let n = b.length - 1;
  while (n >= 0 && b[n] === 0) n--;
  if (n < 0 || b[n] !== 0x80 || padded(n) !== b.length) refuse(code, 'padding');
  return b.subarray(0, n);
}

const split = (okm) => [okm.subarray(0, 32), okm.subarray(32, 44), okm.subarray(44)];

export function sealHeader(key, salt, ad, header) {
  const [k, nonce] = split(hkdf(key, salt, 'secmsg v1 envelope header', 44));
  return aeadSeal(k, nonce, ad, header);
}

// openHeader returns null if the header is not under this key.
export function openHeader(key, salt, ad, sealed) {
  const [k, nonce] = split(hkdf(key, salt, 'secmsg v1 envelope header', 44));
  return aeadOpen(k, nonce, ad, sealed);
}

const bodyKeys = (key, salt, ad) => split(hkdf(key, salt, cat('secmsg v1 envelope body', sha256(ad)), 76));

export function sealBody(key, salt, ad, plaintext) {
  const [k, nonce, commitment] = bodyKeys(key, salt, ad);
  return cat(commitment, aeadSeal(k, nonce, NONE, plaintext));
}

export function openBody(key, salt, ad, sealed) {
  if (sealed.length < 48) refuse('format', 'a body has at least 48 bytes');
  const [k, nonce, commitment] = bodyKeys(key, salt, ad);
  if (!equal(commitment, sealed.subarray(0, 32))) refuse('commitment');
  return aeadOpen(k, nonce, NONE, sealed.subarray(32)) ?? refuse('open');
}

const CHUNK = 65536;
const fileKeys = (key) => {
  const okm = hkdf(key, NONE, 'secmsg v1 file stream', 64);
  return [okm.subarray(0, 32), okm.subarray(32)];
};
const fileNonce = (index, last) => cat(Buffer.alloc(3), u64(index), u8(last ? 1 : 0));

export const fileHeader = (key) => cat(u8(1), fileKeys(key)[1]);
export const sealChunk = (key, index, last, piece) => aeadSeal(fileKeys(key)[0], fileNonce(index, last), NONE, piece);

export function sealFile(key, plain) {
  const n = Math.max(1, Math.ceil(plain.length / CHUNK));
  const chunks = Array.from({ length: n }, (_, i) => sealChunk(key, i, i === n - 1, plain.subarray(i * CHUNK, (i + 1) * CHUNK)));
  return cat(fileHeader(key), ...chunks);
}

export function openFile(key, blob) {
  const n = Math.ceil((blob.length - 33) / (CHUNK + 16));
  const last = blob.length - 33 - (n - 1) * (CHUNK + 16);
  if (blob.length < 49 || blob[0] !== 1 || last < 16 || (n > 1 && last < 17)) refuse('format', 'no blob has this length or version');
  if (!equal(blob.subarray(1, 33), fileHeader(key).subarray(1))) refuse('commitment');
  const [chunkKey] = fileKeys(key);
  const pieces = [];
  for (let i = 0, at = 33; i < n; i++, at += CHUNK + 16) {
    const p = aeadOpen(chunkKey, fileNonce(i, i === n - 1), NONE, blob.subarray(at, at + CHUNK + 16)) ?? refuse('open', `chunk ${i}`);
    pieces.push(p);
  }
  return cat(...pieces);
}

export function mediaKeys(v, direction, ssrc) {
  const info = cat('secmsg v1 call media', v.call, v.caller, v.callee, u8(direction), u64(ssrc).subarray(4));
  const okm = hkdf(cat(v.offer, v.answer), NONE, info, 44);
  return { key: okm.subarray(0, 32), salt: okm.subarray(32) };
}

function mediaNonce(salt, counter) {
  const b = cat(Buffer.alloc(4), u64(counter));
  return b.map((x, i) => x ^ salt[i]);
}

export function sealMedia({ key, salt }, direction, counter, rtp, payload) {
  let header = u8((direction << 4) | Number(counter));
  if (counter > 7n) {
    let short = u64(counter);
    while (short[0] === 0) short = short.subarray(1);
    header = cat(u8((direction << 4) | 8 | (short.length - 1)), short);
  }
  return cat(header, aeadSeal(key, mediaNonce(salt, counter), cat(header, rtp), payload));
}

// MediaOpener opens each packet of one direction and SSRC once.
export class MediaOpener {
  constructor(keys, direction) {
    this.keys = keys;
    this.direction = direction;
    this.newest = -1n;
    this.seen = new Set();
  }
  open(rtp, sealed) {
    if (sealed.length < 17) refuse('format', 'fewer than 17 bytes');
    const r = new Reader(sealed);
    const first = r.u8();
    if (first >> 4 !== this.direction) refuse('format', 'KID');
    let counter = BigInt(first & 7);
    if (first & 8) {
      const b = r.take((first & 7) + 1);
      counter = BigInt('0x' + b.toString('hex'));
      if (b[0] === 0 || counter < 8n) refuse('format', 'not the shortest form');
    }
    if (counter === 2n ** 64n - 1n) refuse('format', 'the last counter');
    if (this.seen.has(counter) || counter <= this.newest - 1024n) refuse('replay');
    const header = sealed.subarray(0, r.at);
    const p = aeadOpen(this.keys.key, mediaNonce(this.keys.salt, counter), cat(header, rtp), r.rest()) ?? refuse('open');
    this.seen.add(counter);
    if (counter > this.newest) this.newest = counter;
    return p;
  }
}

export const pattern = (n) => Buffer.from({ length: n }).map((_, i) => i + Math.floor(i / 251));
