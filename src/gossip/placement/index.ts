/**
 * Which peers keep a segment: weighted rendezvous hashing ("highest random weight", Thaler and Ravishankar 1998, with
 * the weights of Schindelhauer and Schomaker 2005: score = −weight / ln(hash)). Pure; every peer computes the same, and
 * a peer that joins or leaves moves only its own share.
 */

export interface Candidate {
  readonly peer: string;
  readonly zone: string;
  /** Relative share of the data; above 0. */
  readonly weight: number;
}

/**
 * The `count` best candidates for a key, best first. Different zones come first where there are enough: a second peer
 * of a zone is taken only when every zone has one.
 */
export function placeOn(key: string, candidates: readonly Candidate[], count: number): string[] {
  const keyHash = hashText(key, 0x811c9dc5);
  const scored = candidates
    .map((candidate) => ({ ...candidate, score: score(keyHash, candidate) }))
    .sort((a, b) => b.score - a.score || (a.peer < b.peer ? -1 : 1));
  const chosen: string[] = [];
  let left = scored;
  while (chosen.length < count && left.length > 0) {
    const zones = new Set<string>();
    const rest: typeof left = [];
    for (const candidate of left) {
      if (chosen.length < count && !zones.has(candidate.zone)) {
        zones.add(candidate.zone);
        chosen.push(candidate.peer);
      } else rest.push(candidate);
    }
    left = rest;
  }
  return chosen;
}

function score(keyHash: number, { peer, weight }: Candidate): number {
  const peerHash = peerHashOf(peer);
  const high = mix(keyHash ^ peerHash);
  const low = mix(high + Math.imul(peerHash, 0x85ebca6b) + keyHash);
  // 53 bits, in (0, 1).
  const unit = ((high >>> 0) * 2 ** 21 + (low >>> 11) + 0.5) / 2 ** 53;
  return -weight / Math.log(unit);
}

const PEERS_REMEMBERED_MAX = 20_000;
const peerHashes = new Map<string, number>();

function peerHashOf(peer: string): number {
  let hash = peerHashes.get(peer);
  if (hash === undefined) {
    if (peerHashes.size >= PEERS_REMEMBERED_MAX) peerHashes.clear();
    hash = hashText(peer, 0x9747b28c);
    peerHashes.set(peer, hash);
  }
  return hash;
}

/** FNV-1a over UTF-16 units, finished with MurmurHash3's mixer. */
function hashText(text: string, seed: number): number {
  let hash = seed;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return mix(hash);
}

function mix(hash: number): number {
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
