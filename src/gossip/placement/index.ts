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
  const scores = candidates.map((candidate) => score(keyHash, candidate));
  const chosen: string[] = [];
  let zones: string[] = [];
  // The few best are looked for, not all sorted: a mesh places every segment anew whenever a member comes or goes.
  while (chosen.length < count) {
    const at = bestOf(candidates, scores, zones);
    if (at >= 0) {
      chosen.push(candidates[at].peer);
      zones.push(candidates[at].zone);
      scores[at] = TAKEN;
    } else if (zones.length > 0) zones = [];
    else break;
  }
  return chosen;
}

/** Below every score. */
const TAKEN = -1;

/** The best that is neither taken nor in one of `zones`; -1 when there is none. */
function bestOf(
  candidates: readonly Candidate[],
  scores: readonly number[],
  zones: readonly string[],
): number {
  let best = -1;
  let most = TAKEN;
  for (let at = 0; at < scores.length; at++) {
    if (scores[at] === TAKEN || scores[at] < most) continue;
    const { peer, zone } = candidates[at];
    if (scores[at] === most && peer > candidates[best].peer) continue;
    if (zones.includes(zone)) continue;
    best = at;
    most = scores[at];
  }
  return best;
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
