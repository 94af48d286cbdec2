/** The form in which help is written: next to the declarations, which keep to one line a field. */
import type { FieldSpecs, RecordSpec } from '../../arena/fields.ts';

/**
 * What the declaration of a field leaves out. In backticks stand functions of the model that write
 * it; other names are of the kernel, or say on whose behalf.
 */
export interface Told {
  /** who writes it; where nobody does, who has set it at creation */
  readonly by?: string;
  /** where it is declared or described, if not where its record is */
  readonly source?: string;
  /** of a register: its reset value, and what reads and writes of it do */
  readonly rule?: string;
}

export interface RecordHelp {
  readonly record: string;
  /** kernel structure and header, section of the manual, or that it is the model's own */
  readonly source: string;
  /** who writes the fields that do not say it themselves */
  readonly by: string | undefined;
  readonly fields: ReadonlyMap<string, Told>;
}

/** Help for a record; a field that needs nothing but its writers is a string. */
export const helpFor = <F extends FieldSpecs>(
  { name }: RecordSpec<F>,
  { source, by }: { readonly source: string; readonly by?: string },
  fields: { readonly [K in keyof F]?: string | Told } = {},
): RecordHelp => ({
  record: name,
  source,
  by,
  fields: new Map(
    Object.entries<string | Told | undefined>(fields).map(([field, told]) => [
      field,
      typeof told === 'string' ? { by: told } : (told ?? {}),
    ]),
  ),
});
