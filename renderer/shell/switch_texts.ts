// Which protections of a run are not as in a kernel that has them all.

type Values = Readonly<Record<string, string>>;

export interface DifferingSwitch {
  readonly text: string;
  /** a protection is off, or older than its last form */
  readonly weaker: boolean;
}

/** Each switch that differs, in the order of their names. */
export const differingSwitches = (run: Values, whole: Values): DifferingSwitch[] =>
  Object.entries(run)
    .filter(([id, value]) => whole[id] !== undefined && whole[id] !== value)
    .map(([id, value]) => ({ text: `${id} ${value}`, weaker: value !== 'on' }))
    .sort((a, b) => a.text.localeCompare(b.text));
