/**
 * The short text form of a schedule: `mm*14 vcpu0*33 vcpu1`, and at the end, if wanted, the policy
 * that goes on (`round-robin`, `random:7`, `random-stretches:7`, `pct:7:4`). It replays bit for
 * bit; without a policy the run ends where the text ends.
 */

export interface ScheduleItem {
  readonly actor: string;
  readonly count: number;
}

/** Policies that a seed decides. */
export const seededKinds = ['random', 'random-stretches', 'pct'] as const;
export type SeededKind = (typeof seededKinds)[number];

export type PolicySpec =
  | { readonly kind: 'round-robin' }
  | { readonly kind: 'random' | 'random-stretches'; readonly seed: number }
  /** `depth`: orderings that a race may need, as the method counts them */
  | { readonly kind: 'pct'; readonly seed: number; readonly depth: number };

export const depthDefault = 3;
export const depthMax = 16;

export const seededPolicy = (kind: SeededKind, seed: number, depth = depthDefault): PolicySpec =>
  kind === 'pct' ? { kind, seed, depth } : { kind, seed };

export interface Schedule {
  readonly items: readonly ScheduleItem[];
  /** what goes on behind the last item; undefined: the run ends there */
  readonly policy: PolicySpec | undefined;
}

/** `index` is the character of the text at which the fault stands. */
export interface ScheduleFault {
  readonly message: string;
  readonly index: number;
  readonly length: number;
}

const itemPattern = /^([a-z][a-z0-9]*)(?:\*([1-9][0-9]{0,8}))?$/;
const policyPattern = /^(random|random-stretches|pct):([0-9]{1,10})(?::([0-9]{1,3}))?$/;

export const seedMax = 0xffff_ffff;

export const policyText = (policy: PolicySpec): string => {
  if (policy.kind === 'round-robin') return policy.kind;
  const text = `${policy.kind}:${policy.seed}`;
  return policy.kind === 'pct' && policy.depth !== depthDefault ? `${text}:${policy.depth}` : text;
};

/** The policy that a word of the text names, a fault of it, or undefined: it is no policy. */
const policyIn = (token: string): PolicySpec | string | undefined => {
  if (token === 'round-robin') return { kind: token };
  const match = policyPattern.exec(token);
  const kind = seededKinds.find((one) => one === match?.[1]);
  if (match === null || kind === undefined) return undefined;
  const [seed, depth] = [Number(match[2]), Number(match[3] ?? depthDefault)];
  if (seed > seedMax) return `a seed is at most ${seedMax}`;
  if (match[3] !== undefined && kind !== 'pct') return `${kind} has a seed and nothing behind it`;
  if (depth < 1 || depth > depthMax) return `a depth is from 1 to ${depthMax}`;
  return seededPolicy(kind, seed, depth);
};

/** Reads the text form; the names of actors are checked against `actors`. */
export const parseSchedule = (
  text: string,
  actors: readonly string[],
): { schedule: Schedule } | { fault: ScheduleFault } => {
  const items: ScheduleItem[] = [];
  let policy: PolicySpec | undefined;
  for (const match of text.matchAll(/\S+/g)) {
    const token = match[0];
    const fault = (message: string) => ({
      fault: { message, index: match.index, length: token.length },
    });
    if (policy !== undefined) return fault(`nothing may follow the policy, but "${token}" does`);
    const named = policyIn(token);
    if (typeof named === 'string') return fault(named);
    if (named !== undefined) {
      policy = named;
      continue;
    }
    const item = itemPattern.exec(token);
    if (item === null) {
      return fault(
        `"${token}" is neither ACTOR, ACTOR*COUNT, round-robin, random:SEED, ` +
          'random-stretches:SEED nor pct:SEED:DEPTH',
      );
    }
    const actor = item[1]!;
    if (!actors.includes(actor)) {
      return fault(`there is no actor ${actor}; the actors are ${actors.join(', ')}`);
    }
    items.push({ actor, count: item[2] === undefined ? 1 : Number(item[2]) });
  }
  return { schedule: { items, policy } };
};

export const scheduleText = (schedule: Schedule): string =>
  [
    ...schedule.items.map(({ actor, count }) => (count === 1 ? actor : `${actor}*${count}`)),
    ...(schedule.policy === undefined ? [] : [policyText(schedule.policy)]),
  ].join(' ');
