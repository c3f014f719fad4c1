/**
 * Slab: small pieces of bytes, cut from large buffers.
 *
 * A buffer of its own costs a small value more than its bytes: an allocation outside of the heap, and
 * an object that the garbage collector has to follow. A large buffer goes when the last of its pieces
 * does.
 *
 * Invariants
 * 1. No two pieces share a byte, and a piece is handed out once.
 *
 * Effects: none.
 *
 * @module
 */

const slabBytes = 256 * 1024;
const slabPieceBytesMax = 16 * 1024;

export class Slab {
  #buffer = new Uint8Array(0);
  #used = 0;

  take(bytes: number): Uint8Array {
    if (bytes > slabPieceBytesMax) return new Uint8Array(bytes);
    if (this.#used + bytes > this.#buffer.length) {
      this.#buffer = new Uint8Array(slabBytes);
      this.#used = 0;
    }
    const piece = this.#buffer.subarray(this.#used, this.#used + bytes);
    this.#used += bytes;
    return piece;
  }

  copy(bytes: Uint8Array): Uint8Array {
    const piece = this.take(bytes.length);
    piece.set(bytes);
    return piece;
  }
}
