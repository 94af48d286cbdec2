/** The posted-interrupt descriptor. */
import { bits, flag, record, u8, u32 } from '../arena/fields.ts';

/** Offsets as in the VT-d specification. */
export const PiDesc = record(
  'pi_desc',
  'posted-interrupt descriptor',
  {
    pir: bits(256, { at: 0x00 }, 'vectors posted and not yet harvested'),
    on: flag({ at: 0x20, bit: 0 }, 'a notification is outstanding'),
    sn: flag({ at: 0x20, bit: 1 }, 'notifications are suppressed'),
    nv: u8({ at: 0x22, as: 'vector' }, 'vector of the notification'),
    ndst: u32({ at: 0x24 }, 'APIC ID that is notified'),
  },
  64,
);

/** NDST of a CPU while the host is in xAPIC mode: its APIC ID in bits 15:8. */
export const ndstOfCpu = (cpu: number): number => (cpu << 8) & 0xff00;

export const POSTED_INTR_VECTOR = 0xf2;
export const POSTED_INTR_WAKEUP_VECTOR = 0xf1;
export const POSTED_INTR_NESTED_VECTOR = 0xf0;
