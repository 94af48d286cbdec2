// Labels of steps in words: the values of the stack frame stand where the label names them.

import { KVM_REQ } from '../../main/sim/state/requests.ts';

const requestNames = new Map<number, string>(
  Object.entries(KVM_REQ).map(([name, number]) => [number, name]),
);

const placeholder = /\{(\w+)\}/g;

/** The names of the values in their order; a name that comes again stands for the same value. */
export const namesIn = (label: string): string[] => [
  ...new Set([...label.matchAll(placeholder)].map(([, name]) => name!)),
];

/** Fills the placeholders of a label. */
export const filledLabel = (label: string, locals: readonly number[]): string => {
  const names = namesIn(label);
  return label.replace(placeholder, (_, name: string) => {
    const value = locals[names.indexOf(name)];
    return value === undefined ? name : localText(name, value);
  });
};

/** Requests by name, addresses and vectors as hex, the rest as decimals. */
export const localText = (name: string, value: number): string => {
  const signed = value | 0;
  if (name === 'request') return requestNames.get(value) ?? String(value);
  if (signed < 0 && signed > -0x1000) return name === 'pfn' ? 'none' : String(signed);
  return value >= 0x1000 || /vector|gfn|gpa|hva|hpa|address|tpr|irr|isr/.test(name)
    ? `0x${value.toString(16)}`
    : String(value);
};

/** Where a function is from: a path of the kernel, or a section of the manual. */
export const sourceText = (site: { readonly world: string; readonly source: string }): string =>
  site.world === 'sdm' ? `SDM ${site.source}` : site.source;
