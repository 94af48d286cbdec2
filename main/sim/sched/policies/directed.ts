/**
 * Follows the `schedule` block of a scenario: lines such as "vcpu0 through
 * vmx_set_apic_access_page_addr". A line says how far an actor goes in words of the model and not
 * in numbers of steps, so that the same lines serve every profile. A line whose actor ends, waits,
 * or does not get there within the bound gives way to the next; `unreached` tells which.
 */
import { limits } from '../../state/limits.ts';
import { type Machine, siteOf } from '../../steps.ts';
import { isReady, type Policy } from '../policy.ts';
import type { PolicySpec } from '../schedule.ts';
import { policyOf } from './policy_of.ts';

export type Goal =
  /** so many steps */
  | { readonly kind: 'steps'; readonly count: number }
  /** until the actor stands before the step of the function whose label contains the text */
  | { readonly kind: 'to'; readonly function: string; readonly label: string | undefined }
  /** until the actor has returned from the function once more */
  | { readonly kind: 'through'; readonly function: string; readonly label: string | undefined }
  /** until it ends or waits */
  | { readonly kind: 'on' };

export interface Directive {
  readonly actor: number;
  readonly goal: Goal;
}

/**
 * Does the actor stand before, or call from, the step that the goal names? `depth` 0 is outermost.
 */
const standsAt = (
  m: Machine,
  actor: number,
  depth: number,
  goal: { function: string; label: string | undefined },
): boolean => {
  const site = siteOf(m.actor[actor]!.stack[depth]!.site);
  if (site === undefined || site.function !== goal.function) return false;
  return goal.label === undefined || site.label.includes(goal.label);
};

const onStack = (
  m: Machine,
  actor: number,
  goal: { function: string; label: string | undefined },
): boolean => {
  const depth = m.actor[actor]!.depth;
  for (let i = 0; i < depth; i++) if (standsAt(m, actor, i, goal)) return true;
  return false;
};

/** Progress within one directive: whether its goal was entered, and the steps it took. */
interface Progress {
  steps: number;
  entered: boolean;
}

const reached = (m: Machine, { actor, goal }: Directive, progress: Progress): boolean => {
  switch (goal.kind) {
    case 'steps':
      return progress.steps === goal.count;
    case 'to': {
      const depth = m.actor[actor]!.depth;
      return progress.steps > 0 && depth > 0 && standsAt(m, actor, depth - 1, goal);
    }
    case 'through': {
      const inside = onStack(m, actor, goal);
      if (inside) progress.entered = true;
      return progress.entered && !inside;
    }
    case 'on':
      return false;
  }
};

export interface DirectedPolicy extends Policy {
  /** numbers of the directives, from 0, that did not reach their goal */
  readonly unreached: readonly number[];
}

export const directed = (
  directives: readonly Directive[],
  policy: PolicySpec | undefined,
): DirectedPolicy => {
  const rest = policyOf(policy ?? { kind: 'round-robin' });
  const unreached: number[] = [];
  let line = 0;
  let progress: Progress = { steps: 0, entered: false };
  const nextLine = (): void => {
    line++;
    progress = { steps: 0, entered: false };
  };
  return {
    ended: undefined,
    unreached,
    choose(m, ready) {
      while (line < directives.length) {
        const directive = directives[line]!;
        if (reached(m, directive, progress)) {
          nextLine();
        } else if (!isReady(ready, directive.actor) || progress.steps >= limits.directiveSteps) {
          if (directive.goal.kind !== 'on') unreached.push(line);
          nextLine();
        } else {
          progress.steps++;
          return directive.actor;
        }
      }
      return rest.choose(m, ready);
    },
  };
};
