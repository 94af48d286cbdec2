/** What a switch is. */
export type SwitchValue = string;

export interface Switch {
  readonly id: string;
  /** allowed values, the usual one first; a boolean has 'on' and 'off' */
  readonly values: readonly SwitchValue[];
  readonly since: string;
  readonly races: readonly string[];
  readonly summary: string;
}

/** A protection that is there or not. */
export const onOff = ['on', 'off'] as const;
