/** Reading and writing the memory of the VMM process, as the kernel does it for a system call. */
import { readBytes, writeBytes } from '../hw/memory.ts';
import { PAGE_SIZE } from '../state/machine.ts';
import { type Body, linux, type Machine } from '../steps.ts';
import { put_page } from './frames.ts';
import { hva_to_pfn, pteOf } from './page_table.ts';

const pageOf = (hva: number): number => hva - (hva % PAGE_SIZE);

/** The frame that is mapped right now, −1 for none. */
const mappedFrame = (m: Machine, hva: number): number => {
  const pte = m.pte[pteOf(m, pageOf(hva))];
  return pte?.present === true ? pte.pfn : -1;
};

/** Faults the page in until it is there: false if nothing is mapped. */
function* faultIn(m: Machine, hva: number): Body<boolean> {
  while (mappedFrame(m, hva) < 0) {
    const pfn: number = yield* hva_to_pfn(m, pageOf(hva));
    if (pfn < 0) return false;
    put_page(m, pfn);
  }
  return true;
}

/** Bytes of an access that are in its first page. */
const inFirstPage = (hva: number, width: number): number =>
  Math.min(width, PAGE_SIZE - (hva % PAGE_SIZE));

function* readPart(m: Machine, hva: number, width: number): Body<number> {
  yield m.step('read {width} bytes through the mapping of user space', width);
  if (!(yield* faultIn(m, hva))) return -1;
  return readBytes(m, mappedFrame(m, hva), hva % PAGE_SIZE, width);
}

function* writePart(m: Machine, hva: number, width: number, value: number): Body<boolean> {
  yield m.step('write {value} through the mapping of user space', value);
  if (!(yield* faultIn(m, hva))) return false;
  writeBytes(m, mappedFrame(m, hva), hva % PAGE_SIZE, width, value);
  return true;
}

/** Reads up to 4 bytes; −1 if nothing is mapped there. */
export const __copy_from_user = linux(
  'include/linux/uaccess.h',
  function* __copy_from_user(m: Machine, hva: number, width: number) {
    const first = inFirstPage(hva, width);
    const low: number = yield* readPart(m, hva, first);
    if (low < 0 || first === width) return low;
    const high: number = yield* readPart(m, hva + first, width - first);
    return high < 0 ? high : low + high * 2 ** (8 * first);
  },
);

/** Writes up to 4 bytes; false if nothing is mapped there, or behind it. */
export const __copy_to_user = linux(
  'include/linux/uaccess.h',
  function* __copy_to_user(m: Machine, hva: number, width: number, value: number) {
    const first = inFirstPage(hva, width);
    if (!(yield* writePart(m, hva, first, value))) return false;
    if (first === width) return true;
    return yield* writePart(m, hva + first, width - first, value >>> (8 * first));
  },
);
