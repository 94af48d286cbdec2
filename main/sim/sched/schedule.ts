/**
 * The short text form of a schedule: `mm*14 vcpu0*33 vcpu1`, and at the end, if wanted, the policy
 * that goes on (`round-robin`, `random:7`). It replays bit for bit; without a policy the run ends
 * where the text ends.
 */

export interface ScheduleItem {
  readonly actor: string;
  readonly count: number;
}

export type PolicySpec =
  | { readonly kind: 'round-robin' }
  | { readonly kind: 'random'; readonly seed: number };

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
const randomPattern = /^random:([0-9]{1,10})$/;

export const seedMax = 0xffff_ffff;

export const policyText = (policy: PolicySpec): string =>
  policy.kind === 'random' ? `random:${policy.seed}` : policy.kind;

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
    const random = randomPattern.exec(token);
    if (token === 'round-robin') policy = { kind: 'round-robin' };
    else if (random !== null) {
      const seed = Number(random[1]);
      if (seed > seedMax) return fault(`a seed is at most ${seedMax}`);
      policy = { kind: 'random', seed };
    } else {
      const item = itemPattern.exec(token);
      if (item === null) {
        return fault(`"${token}" is neither ACTOR, ACTOR*COUNT, round-robin nor random:SEED`);
      }
      const actor = item[1]!;
      if (!actors.includes(actor)) {
        return fault(`there is no actor ${actor}; the actors are ${actors.join(', ')}`);
      }
      items.push({ actor, count: item[2] === undefined ? 1 : Number(item[2]) });
    }
  }
  return { schedule: { items, policy } };
};

export const scheduleText = (schedule: Schedule): string =>
  [
    ...schedule.items.map(({ actor, count }) => (count === 1 ? actor : `${actor}*${count}`)),
    ...(schedule.policy === undefined ? [] : [policyText(schedule.policy)]),
  ].join(' ');
